package main

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// soReusePort is SO_REUSEPORT of Linux on amd64 and arm64; package syscall does not name it.
const soReusePort = 15

// buffers are reused, so that a short connection does not cost a buffer's garbage.
var buffers = sync.Pool{New: func() any { return new([4096]byte) }}

// serve accepts on address until an accept fails. SO_REUSEPORT lets several listeners, and
// several processes, share the port.
func serve(address string, listeners int) error {
	// Keep-alive off: it would cost three system calls on each connection and buy nothing here.
	config := net.ListenConfig{KeepAlive: -1, Control: setOption(syscall.SOL_SOCKET, soReusePort)}
	failed := make(chan error)
	for i := 0; i < listeners; i++ {
		listener, err := config.Listen(context.Background(), "tcp4", address)
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					failed <- err
					return
				}
				go echo(conn)
			}
		}()
	}
	return <-failed
}

// echo sends back what it reads until the peer closes. A peer that fails is closed as well.
func echo(conn net.Conn) {
	buffer := buffers.Get().(*[4096]byte)
	for {
		n, err := conn.Read(buffer[:])
		if err != nil {
			break
		}
		if _, err = conn.Write(buffer[:n]); err != nil {
			break
		}
	}
	buffers.Put(buffer)
	conn.Close()
}

// setOption switches a socket option on before the socket is bound.
func setOption(level, option int) func(string, string, syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), level, option, 1)
		})
		if err != nil {
			return err
		}
		return failed
	}
}

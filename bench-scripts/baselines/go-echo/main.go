// Command go-echo is the baseline in Go: a goroutine for each connection, with a small buffer. It
// runs on one CPU if it is started there with GOMAXPROCS=1.
//
// Usage: go-echo PORT. It listens on 127.0.0.1 and runs until SIGTERM. The backlog is the system's
// net.core.somaxconn. Standard library only, so that it builds without a network.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

const bufferBytes = 128

func main() {
	if len(os.Args) != 2 {
		fail("usage: go-echo PORT")
	}
	// Keep-alive off: it would cost three system calls on each connection and buy nothing here.
	config := net.ListenConfig{KeepAlive: -1}
	listener, err := config.Listen(context.Background(), "tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fail(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go echo(conn)
	}
}

// echo sends back what it reads until the peer ends. A peer that fails is closed as well.
func echo(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, bufferBytes)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err = conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, "error:", why)
	os.Exit(2)
}

// Command go-tls-echo is the baseline with crypto/tls: as go-echo, in TLS. It gives no tickets, as ours
// gives none unasked.
//
// Usage: go-tls-echo PORT CERTIFICATE KEY, both in PEM.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
)

const bufferBytes = 128

func main() {
	if len(os.Args) != 4 {
		fail("usage: go-tls-echo PORT CERTIFICATE KEY")
	}
	certificate, err := tls.LoadX509KeyPair(os.Args[2], os.Args[3])
	if err != nil {
		fail(err)
	}
	settings := &tls.Config{Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: true}
	config := net.ListenConfig{KeepAlive: -1}
	plain, err := config.Listen(context.Background(), "tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fail(err)
	}
	listener := tls.NewListener(plain, settings)
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

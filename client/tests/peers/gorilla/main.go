// Command gorilla is a client with gorilla/websocket. Usage: gorilla URL COUNT. COUNT connections at once; each has
// every message back, one of them in several frames, has the pong of its ping, and closes with a code that
// comes back. It prints `well`. SSL_CERT_FILE has the authority of a server of wss.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
)

var dialer = websocket.Dialer{
	Subprotocols:      []string{"soap", "chat"},
	EnableCompression: true,
	// What does not fit into it goes out as a frame of its own.
	WriteBufferSize: 1000,
}

func main() {
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail(err)
	}
	ends := make(chan error)
	for i := 0; i < count; i++ {
		go func() { ends <- talk(os.Args[1]) }()
	}
	for i := 0; i < count; i++ {
		if err := <-ends; err != nil {
			fail(err)
		}
	}
	fmt.Println("well")
}

func talk(url string) error {
	conn, _, err := dialer.Dial(url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if conn.Subprotocol() != "chat" {
		return fmt.Errorf("subprotocol %q", conn.Subprotocol())
	}
	deadline := time.Now().Add(20 * time.Second)
	if err = conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	pong := ""
	conn.SetPongHandler(func(data string) error {
		pong = data
		return nil
	})
	if err = conn.WriteControl(websocket.PingMessage, []byte("are you there"), deadline); err != nil {
		return err
	}
	for _, size := range []int{0, 1, 125, 126, 900, 4096, 65535, 65536, 100000} {
		for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
			message := bytes.Repeat([]byte("x"), size)
			if err = conn.WriteMessage(kind, message); err != nil {
				return err
			}
			gotKind, got, err := conn.ReadMessage()
			if err != nil {
				return err
			}
			if gotKind != kind || !bytes.Equal(got, message) {
				return fmt.Errorf("%d bytes are others: kind %d, %d bytes", size, gotKind, len(got))
			}
		}
	}
	if pong != "are you there" {
		return fmt.Errorf("pong %q", pong)
	}
	farewell := websocket.FormatCloseMessage(4321, "bye")
	if err = conn.WriteControl(websocket.CloseMessage, farewell, deadline); err != nil {
		return err
	}
	_, _, err = conn.ReadMessage()
	end, isClose := err.(*websocket.CloseError)
	if !isClose || end.Code != 4321 {
		return fmt.Errorf("closed by: %v", err)
	}
	return nil
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, "error:", why)
	os.Exit(1)
}

// Command go-ws-echo is the baseline with gorilla/websocket, as it comes: a handler of net/http that
// sends back each message.
//
// Usage: go-ws-echo PORT. It listens on 127.0.0.1 and runs until SIGTERM. It builds
// with the library as Debian packages it (golang-github-gorilla-websocket-dev), without modules.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/gorilla/websocket"
)

var upgrader websocket.Upgrader

func main() {
	if len(os.Args) != 2 {
		fail("usage: go-ws-echo PORT")
	}
	config := net.ListenConfig{KeepAlive: -1}
	listener, err := config.Listen(context.Background(), "tcp4", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fail(err)
	}
	fail(http.Serve(listener, http.HandlerFunc(echo)))
}

// echo sends back each message until the peer ends.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if err = conn.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, "error:", why)
	os.Exit(2)
}

// Command go-churn is a plain Go program for short connections: an echo server and the client
// that opens, uses and closes them. churn.sh runs the two beside megaconn. Each connection is a
// goroutine on the server's side; a worker goroutine of the client takes one after the other
// through its whole life. Standard library only, so that it builds without a network.
package main

import (
	"flag"
	"fmt"
	"os"
)

const usage = `usage: go-churn server --listen ADDR:PORT [--listeners N]
       go-churn client --target ADDR:PORT --seconds S --workers N [--rate R] [--source CIDR]
`

// messageBytes is the length of the message and of its echo, as megaconn sends it.
const messageBytes = 64

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	flags := flag.NewFlagSet("go-churn "+os.Args[1], flag.ExitOnError)
	var err error
	switch os.Args[1] {
	case "server":
		listen := flags.String("listen", "127.0.0.1:7216", "address and port to accept on")
		listeners := flags.Int("listeners", 1, "listening sockets, an accept loop each")
		flags.Parse(os.Args[2:])
		err = serve(*listen, *listeners)
	case "client":
		var c client
		flags.StringVar(&c.target, "target", "127.0.0.1:7216", "address and port of the server")
		flags.Float64Var(&c.seconds, "seconds", 10, "time to open connections for")
		flags.IntVar(&c.workers, "workers", 64, "connections in flight at most")
		flags.Float64Var(&c.rate, "rate", 0, "connections a second in all; 0: as fast as they go")
		source := flags.String("source", "127.1.0.0/16", "addresses to connect from, in turn")
		flags.Parse(os.Args[2:])
		if c.sources, err = parseSources(*source); err == nil {
			err = c.run(os.Stdout)
		}
	default:
		err = fmt.Errorf("%s is not a command\n%s", os.Args[1], usage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
}

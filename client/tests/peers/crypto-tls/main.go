// Command crypto-tls is either end of TLS with Go's own package, of one version, and echoes.
//
//	crypto-tls -listen PORT -version 1.3 -cert FILE -key FILE [-ca FILE]   with -ca a client must show a certificate
//	crypto-tls -connect ADDR:PORT -version 1.3 -ca FILE -count N [-cert FILE -key FILE] [-resumed]
//
// The client holds N connections at once, each of which has every message back, and prints `well`. With -resumed it makes
// them one after the other, and each but the first must be resumed.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

var (
	listen  = flag.String("listen", "", "port of 127.0.0.1")
	connect = flag.String("connect", "", "address and port")
	version = flag.String("version", "1.3", "1.2 or 1.3")
	ca      = flag.String("ca", "", "authorities of the other end")
	cert    = flag.String("cert", "", "certificate of this end")
	key     = flag.String("key", "", "its key")
	count   = flag.Int("count", 1, "connections")
	resumed = flag.Bool("resumed", false, "one after the other, each but the first resumed")
)

func main() {
	flag.Parse()
	settings, err := config()
	if err == nil && *listen != "" {
		err = serve(settings)
	} else if err == nil {
		err = dial(settings)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func config() (*tls.Config, error) {
	number := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[*version]
	settings := &tls.Config{MinVersion: number, MaxVersion: number, ServerName: "localhost"}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return nil, err
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	if *ca != "" {
		text, err := os.ReadFile(*ca)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		settings.RootCAs, settings.ClientCAs = pool, pool
		settings.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if *resumed {
		settings.ClientSessionCache = tls.NewLRUClientSessionCache(10)
	}
	return settings, nil
}

func serve(settings *tls.Config) error {
	listener, err := tls.Listen("tcp4", "127.0.0.1:"+*listen, settings)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

func dial(settings *tls.Config) error {
	if *resumed {
		for i := 0; i < *count; i++ {
			conn, err := talk(settings)
			if err != nil {
				return err
			}
			if isResumed := conn.ConnectionState().DidResume; isResumed != (i > 0) {
				return fmt.Errorf("connection %d: resumed is %v", i, isResumed)
			}
			conn.Close()
		}
		fmt.Println("well")
		return nil
	}
	ends := make(chan error)
	held := make(chan struct{})
	for i := 0; i < *count; i++ {
		go func() {
			conn, err := talk(settings)
			ends <- err
			<-held
			if err == nil {
				conn.Close()
			}
		}()
	}
	for i := 0; i < *count; i++ {
		if err := <-ends; err != nil {
			return err
		}
	}
	close(held)
	fmt.Println("well")
	return nil
}

// talk has messages of several lengths back, and leaves the connection open.
func talk(settings *tls.Config) (*tls.Conn, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp4", *connect, settings)
	if err != nil {
		return nil, err
	}
	if err = conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, err
	}
	for _, size := range []int{1, 100, 4096, 16384, 50000} {
		message := bytes.Repeat([]byte("x"), size)
		got := make([]byte, size)
		if _, err = conn.Write(message); err != nil {
			return nil, err
		}
		if _, err = io.ReadFull(conn, got); err != nil {
			return nil, err
		}
		if !bytes.Equal(got, message) {
			return nil, errors.New("other bytes came back")
		}
	}
	return conn, nil
}

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// ipBindAddressNoPort leaves the choice of the port to connect, which knows the target: a port
// is then taken only for this source and target, and one in TIME_WAIT is passed over.
const ipBindAddressNoPort = 24

// grace is what connections in flight get when the time is over; those left are reported.
const grace = 5 * time.Second

var errMismatch = errors.New("mismatched echo")

type client struct {
	target  string
	seconds float64
	workers int
	rate    float64
	sources sources

	started time.Time
	taken   atomic.Uint64 // connections begun; the next one's number
	done    atomic.Uint64 // connections ended, whole or failed
}

// run opens connections for c.seconds and prints what came of them as one line of JSON.
func (c *client) run(out io.Writer) error {
	parts := make(chan *tally, c.workers)
	c.started = time.Now()
	for i := 0; i < c.workers; i++ {
		go func() { parts <- c.work() }()
	}
	end := time.After(time.Duration(c.seconds*float64(time.Second)) + grace)
	total := newTally()
	for i := 0; i < c.workers; i++ {
		select {
		case part := <-parts:
			total.add(part)
		case <-end:
			i = c.workers
		}
	}
	// A worker that did not come back takes its own count with it, so this is the count of the
	// connections that hang, not of all that those workers made.
	lost := map[string]uint64{}
	if n := c.taken.Load() - c.done.Load(); n > 0 {
		lost["unfinished"] = n
	}
	return json.NewEncoder(out).Encode(map[string]any{
		"completed":             total.completed,
		"failed":                total.failed,
		"lost":                  lost,
		"seconds":               c.seconds,
		"rate_per_s":            float64(total.inTime) / c.seconds,
		"latency_us":            total.whole.summary(),
		"connect_latency_us":    total.connect.summary(),
		"latency_us_le":         total.whole.sparse(),
		"connect_latency_us_le": total.connect.sparse(),
	})
}

// work takes one connection after the other through its life until the time is over.
func (c *client) work() *tally {
	dialer := net.Dialer{
		KeepAlive: -1,
		Control:   setOption(syscall.SOL_IP, ipBindAddressNoPort),
	}
	end := c.started.Add(time.Duration(c.seconds * float64(time.Second)))
	t := newTally()
	message, reply := make([]byte, messageBytes), make([]byte, messageBytes)
	for {
		begin := time.Now()
		if begin.After(end) {
			return t
		}
		n := c.taken.Add(1) - 1
		if c.rate > 0 {
			// Latency counts from when the connection was due, not from when a worker was free.
			due := c.started.Add(time.Duration(float64(n) / c.rate * float64(time.Second)))
			if due.After(end) {
				c.done.Add(1)
				return t
			}
			time.Sleep(due.Sub(begin))
			begin = due
		}
		dialer.LocalAddr = c.sources.address(n)
		binary.LittleEndian.PutUint64(message, n)
		connected, err := exchange(&dialer, c.target, message, reply)
		now := time.Now()
		c.done.Add(1)
		if err != nil {
			t.failed[reason(err)]++
			continue
		}
		t.completed++
		if now.Before(end) {
			t.inTime++
		}
		t.connect.record(connected.Sub(begin))
		t.whole.record(now.Sub(begin))
	}
}

// exchange is the whole life of a connection, from before its socket is made to after its close.
func exchange(dialer *net.Dialer, target string, message, reply []byte) (time.Time, error) {
	conn, err := dialer.Dial("tcp4", target)
	if err != nil {
		return time.Time{}, err
	}
	connected := time.Now()
	if _, err = conn.Write(message); err == nil {
		_, err = io.ReadFull(conn, reply)
	}
	if err == nil && !bytes.Equal(message, reply) {
		err = errMismatch
	}
	if failed := conn.Close(); err == nil {
		err = failed
	}
	return connected, err
}

// reason is the system's text for what failed, without the addresses that differ each time.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// sources are the addresses of a network but its first and last.
type sources struct {
	first uint32
	count uint64
}

func parseSources(cidr string) (sources, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return sources{}, err
	}
	if !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return sources{}, errors.New("--source " + cidr + " is not an IPv4 network of four addresses or more")
	}
	network := prefix.Masked().Addr().As4()
	return sources{
		first: binary.BigEndian.Uint32(network[:]) + 1,
		count: 1<<(32-prefix.Bits()) - 2,
	}, nil
}

// address is the n-th connection's: the one after the connection before it, around and around.
func (s sources) address(n uint64) net.Addr {
	ip := make(net.IP, 4)
	binary.BigEndian.PutUint32(ip, s.first+uint32(n%s.count))
	return &net.TCPAddr{IP: ip}
}

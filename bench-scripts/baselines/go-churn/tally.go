package main

import (
	"math/bits"
	"time"
)

// tally is what one worker did; the workers' are added up at the end.
type tally struct {
	completed      uint64
	inTime         uint64 // completed before the time was over; one that lagged must not stretch it
	failed         map[string]uint64
	connect, whole histogram
}

func newTally() *tally {
	return &tally{failed: map[string]uint64{}}
}

func (t *tally) add(part *tally) {
	t.completed += part.completed
	t.inTime += part.inTime
	for name, n := range part.failed {
		t.failed[name] += n
	}
	t.connect.add(&part.connect)
	t.whole.add(&part.whole)
}

// histogram counts microseconds in 64 steps for each power of two: within 1.6 % of the truth.
type histogram struct {
	counts [2048]uint64
}

func (h *histogram) record(d time.Duration) {
	us := uint64(0)
	if d > 0 {
		us = uint64(d.Microseconds())
	}
	index := us
	if us >= 128 {
		shift := bits.Len64(us) - 7
		index = uint64(shift)*64 + us>>shift
	}
	h.counts[min(index, uint64(len(h.counts)-1))]++
}

// upper is the highest value that the step counts.
func upper(index int) uint64 {
	if index < 128 {
		return uint64(index)
	}
	shift := index/64 - 1
	return (uint64(index-shift*64)+1)<<shift - 1
}

func (h *histogram) add(part *histogram) {
	for i, n := range part.counts {
		h.counts[i] += n
	}
}

// sparse is the histogram whole, for whoever adds up several processes: [highest value, count].
func (h *histogram) sparse() [][2]uint64 {
	pairs := [][2]uint64{}
	for i, n := range h.counts {
		if n > 0 {
			pairs = append(pairs, [2]uint64{upper(i), n})
		}
	}
	return pairs
}

// summary is nil where nothing was counted.
func (h *histogram) summary() map[string]uint64 {
	pairs := h.sparse()
	if len(pairs) == 0 {
		return nil
	}
	total := uint64(0)
	for _, pair := range pairs {
		total += pair[1]
	}
	at := func(share float64) uint64 {
		seen := uint64(0)
		for _, pair := range pairs {
			if seen += pair[1]; float64(seen) >= share*float64(total) {
				return pair[0]
			}
		}
		return pairs[len(pairs)-1][0]
	}
	return map[string]uint64{"p50": at(0.5), "p99": at(0.99), "max": pairs[len(pairs)-1][0]}
}

func min(a, b uint64) uint64 {
	if a < b {
		return a
	}
	return b
}

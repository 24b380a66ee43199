package etcd_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var latencyRounds = flag.Int("latency.rounds", 2, "rounds of TestLatency, of 200 operations of one client and 1,600 of 16 on each engine")

// side is a cluster under measurement.
type side struct {
	name   string
	client *clientv3.Client
	times  map[string]*hdrhistogram.Histogram
}

// TestLatency measures etcd on Lightning DB beside etcd on bbolt: two clusters of
// three, which take turns. It asserts only that both do the work.
func TestLatency(t *testing.T) {
	var sides []*side
	for name, build := range map[string]func() (string, error){"Lightning DB": onLightning, "bbolt": onBbolt} {
		program, err := build()
		if err != nil {
			t.Fatal(err)
		}
		c := newCluster(t, program)
		c.startAll()
		sides = append(sides, &side{name: name, client: c.dial(), times: make(map[string]*hdrhistogram.Histogram)})
	}
	value := strings.Repeat("v", 256)
	for round := range *latencyRounds {
		for i := range sides {
			s := sides[(i+round)%2]
			put := func(ctx context.Context, n int) error {
				_, err := s.client.Put(ctx, fmt.Sprintf("key/%d", n%5000), value)
				return err
			}
			get := func(ctx context.Context, n int) error {
				_, err := s.client.Get(ctx, fmt.Sprintf("key/%d", n%5000))
				return err
			}
			s.measure(t, "put, 1 client", 1, 200, put)
			s.measure(t, "put, 16 clients", 16, 100, put)
			s.measure(t, "get, 16 clients", 16, 100, get)
		}
	}
	for _, work := range []string{"put, 1 client", "put, 16 clients", "get, 16 clients"} {
		for _, s := range sides {
			h := s.times[work]
			t.Logf("%-16s %-13s n %6d  P50 %7v  P99 %7v", work, s.name, h.TotalCount(),
				microseconds(h.ValueAtQuantile(50)), microseconds(h.ValueAtQuantile(99)))
		}
	}
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// measure runs the operation each times by each of the clients.
func (s *side) measure(t *testing.T, work string, clients, each int, op func(context.Context, int) error) {
	t.Helper()
	if s.times[work] == nil {
		s.times[work] = hdrhistogram.New(1, int64(patience/time.Microsecond), 3)
	}
	var mu sync.Mutex
	var running sync.WaitGroup
	for client := range clients {
		running.Go(func() {
			for i := range each {
				began := time.Now()
				err := op(t.Context(), client*each+i)
				took := time.Since(began)
				mu.Lock()
				if err == nil {
					err = s.times[work].RecordValue(max(1, took.Microseconds()))
				}
				mu.Unlock()
				if err != nil {
					t.Errorf("%s, %s: %v", s.name, work, err)
					return
				}
			}
		})
	}
	running.Wait()
}

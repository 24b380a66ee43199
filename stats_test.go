package lightning

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// fillInts sets every integer field of the struct that p points to, nested structs included, to f(i).
func fillInts(p any, f func(i int) int64) {
	n := 0
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			if field := v.Field(i); field.Kind() == reflect.Struct {
				walk(field)
			} else {
				field.SetInt(f(n))
				n++
			}
		}
	}
	walk(reflect.ValueOf(p).Elem())
}

func TestStats_Sub_SubtractsCountersAndKeepsGauges(t *testing.T) {
	var now, before Stats
	fillInts(&now, func(i int) int64 { return 1000 + int64(i)*int64(i) })
	fillInts(&before, func(i int) int64 { return int64(i) })

	got := now.Sub(&before)
	want := Stats{
		TxStats:       now.TxStats.Sub(&before.TxStats),
		FreePageN:     now.FreePageN,
		PendingPageN:  now.PendingPageN,
		FreeAlloc:     now.FreeAlloc,
		FreelistInuse: now.FreelistInuse,
		TxN:           now.TxN - before.TxN,
	}
	if got != want {
		t.Errorf("Sub: got %+v, want %+v", got, want)
	}
}

func TestStats_Sub_Nil(t *testing.T) {
	var now Stats
	fillInts(&now, func(i int) int64 { return int64(i) + 1 })
	if got := now.Sub(nil); got != now {
		t.Errorf("Sub(nil): got %+v, want %+v", got, now)
	}
}

func TestTxStats_Sub_EveryField(t *testing.T) {
	var now, before, want TxStats
	fillInts(&now, func(i int) int64 { return 1000 * (int64(i) + 1) })
	fillInts(&before, func(i int) int64 { return int64(i) + 1 })
	fillInts(&want, func(i int) int64 { return 999 * (int64(i) + 1) })
	if got := now.Sub(&before); got != want {
		t.Errorf("Sub: got %+v, want %+v", got, want)
	}
}

func TestTxStats_AddThenSnapshot_EveryField(t *testing.T) {
	var sum, part, want TxStats
	fillInts(&sum, func(i int) int64 { return int64(i) })
	fillInts(&part, func(i int) int64 { return 100 })
	fillInts(&want, func(i int) int64 { return int64(i) + 100 })
	sum.add(&part)
	if got := sum.snapshot(); got != want {
		t.Errorf("after add: got %+v, want %+v", got, want)
	}
}

// Each Inc must move its own field and no other, and Get must read the same field.
func TestTxStats_GetInc_MatchTheirField(t *testing.T) {
	typ := reflect.TypeFor[TxStats]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		var stats TxStats
		v := reflect.ValueOf(&stats)
		delta := reflect.ValueOf(int64(7)).Convert(typ.Field(i).Type)
		for _, want := range []int64{7, 14} {
			if got := v.MethodByName("Inc" + name).Call([]reflect.Value{delta})[0].Int(); got != want {
				t.Errorf("Inc%s: got %d, want %d", name, got, want)
			}
			if got := v.MethodByName("Get" + name).Call(nil)[0].Int(); got != want {
				t.Errorf("Get%s: got %d, want %d", name, got, want)
			}
		}
		for j := range typ.NumField() {
			want := int64(0)
			if i == j {
				want = 14
			}
			if got := v.Elem().Field(j).Int(); got != want {
				t.Errorf("after Inc%s: field %s = %d, want %d", name, typ.Field(j).Name, got, want)
			}
		}
	}
}

func TestTxStats_Inc_Concurrent(t *testing.T) {
	var stats TxStats
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				stats.IncWrite(1)
				stats.IncWriteTime(time.Nanosecond)
			}
		})
	}
	wg.Wait()
	if got := stats.GetWrite(); got != 8000 {
		t.Errorf("GetWrite: got %d, want 8000", got)
	}
	if got := stats.GetWriteTime(); got != 8000 {
		t.Errorf("GetWriteTime: got %d, want 8000ns", got)
	}
}

func TestBucketStats_Add(t *testing.T) {
	var sum, part, want BucketStats
	fillInts(&sum, func(i int) int64 { return int64(i) + 1 })
	fillInts(&part, func(i int) int64 { return 100 * (int64(i) + 1) })
	fillInts(&want, func(i int) int64 { return 101 * (int64(i) + 1) })
	want.Depth = part.Depth // the deeper of the two, not the sum

	sum.Add(part)
	if sum != want {
		t.Errorf("Add: got %+v, want %+v", sum, want)
	}
	sum.Add(BucketStats{Depth: 1})
	if sum.Depth != want.Depth {
		t.Errorf("Depth after adding a shallower bucket: got %d, want %d", sum.Depth, want.Depth)
	}
}

func TestBucketStructure_JSON(t *testing.T) {
	got, err := json.Marshal(BucketStructure{Name: "a", KeyN: 2, Children: []BucketStructure{{Name: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"a","keyN":2,"buckets":[{"name":"b","keyN":0}]}`
	if strings.TrimSpace(string(got)) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

package raftstore

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// sameLog says whether nothing of a is lost in b.
func sameLog(a, b *raft.Log) bool {
	_, za := a.AppendedAt.Zone()
	_, zb := b.AppendedAt.Zone()
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type &&
		bytes.Equal(a.Data, b.Data) && (a.Data == nil) == (b.Data == nil) &&
		bytes.Equal(a.Extensions, b.Extensions) && (a.Extensions == nil) == (b.Extensions == nil) &&
		a.AppendedAt.Equal(b.AppendedAt) && (za == zb || a.AppendedAt.IsZero())
}

func TestEntry_NothingIsLost(t *testing.T) {
	east := time.FixedZone("", 5*60*60+45*60)
	for _, l := range []raft.Log{
		{},
		{Index: 1, Term: 1},
		{Index: 1<<64 - 1, Term: 1<<64 - 1, Type: 255, Data: []byte{}, Extensions: []byte{}},
		{Index: 7, Type: raft.LogConfiguration, Data: []byte("d"), Extensions: []byte("ext")},
		{Index: 8, Data: []byte("data"), AppendedAt: time.Unix(1700000000, 999999999)},
		{Index: 9, AppendedAt: time.Unix(0, 0).UTC()},
		{Index: 10, AppendedAt: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)},
		{Index: 11, AppendedAt: time.Date(9999, 12, 31, 23, 59, 59, 0, east)},
	} {
		var got raft.Log
		if err := decodeEntry(l.Index, appendEntry(nil, &l), &got); err != nil || !sameLog(&l, &got) {
			t.Errorf("%+v came back as %+v, %v", l, got, err)
		}
	}
}

// TestEntry_Layout holds version 1 of the layout: files that exist have it.
func TestEntry_Layout(t *testing.T) {
	l := raft.Log{
		Index: 1, Term: 300, Type: raft.LogCommand, Data: []byte("da"), Extensions: []byte("e"),
		AppendedAt: time.Unix(1, 2).In(time.FixedZone("", 3600)),
	}
	want := []byte{1, 0, 7, 0xac, 2, 2, 2, 0xa0, 0x38, 1, 'e', 'd', 'a'}
	if got := appendEntry(nil, &l); !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
}

func TestEntry_DamageIsAnError(t *testing.T) {
	l := raft.Log{Index: 1, Term: 300, Data: []byte("da"), Extensions: []byte("e"), AppendedAt: time.Unix(1, 2).UTC()}
	whole := appendEntry(nil, &l)
	for name, value := range map[string][]byte{
		"empty":           {},
		"version 0":       {0, 0, 0, 1},
		"version 2":       {2, 0, 0, 1},
		"unknown flag":    {1, 0, 8, 1},
		"no term":         {1, 0, 0},
		"long term":       {1, 0, 0, 0x81, 0},
		"endless term":    {1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
		"data, no flag":   {1, 0, 0, 1, 'x'},
		"long extensions": {1, 0, 2, 1, 200, 'x'},
		"zero time":       appendEntry(nil, &raft.Log{Data: []byte{}})[:2],
		"cut":             whole[:8],
	} {
		got := raft.Log{Index: 99}
		if err := decodeEntry(1, value, &got); !errors.Is(err, ErrBadEntry) || got.Index != 99 {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(uint64(1), []byte{1, 0, 7, 0xac, 2, 2, 2, 0xa0, 0x38, 1, 'e', 'd', 'a'})
	f.Add(uint64(2), appendEntry(nil, &raft.Log{Term: 5, Data: []byte("data"), AppendedAt: time.Unix(1700000000, 5)}))
	f.Add(uint64(3), []byte{})
	f.Fuzz(func(t *testing.T, index uint64, value []byte) {
		var l raft.Log
		if err := decodeEntry(index, value, &l); err != nil {
			if !errors.Is(err, ErrBadEntry) {
				t.Fatalf("not a known error: %v", err)
			}
			return
		}
		if again := appendEntry(nil, &l); !bytes.Equal(again, value) {
			t.Fatalf("% x means %+v, which is written % x", value, l, again)
		}
	})
}

package main

import (
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far a long command has come. The zero value shows nothing.
type progress struct {
	app       *app
	stderr    io.Writer
	container *mpb.Progress
	bar       *mpb.Bar
}

// progressUnit says what a progress bar counts.
type progressUnit int

const (
	countItems progressUnit = iota
	countBytes
)

// newProgress shows a bar on stderr if that is a terminal. total may be 0 if it is not known yet.
// Until finish is called warnings are printed above the bar.
func (a *app) newProgress(label string, total int64, unit progressUnit) *progress {
	if !a.showsProgress() {
		return &progress{}
	}
	counters := decor.CountersNoUnit("%d / %d", decor.WCSyncSpace)
	if unit == countBytes {
		counters = decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace)
	}
	container := mpb.New(mpb.WithOutput(a.err))
	bar := container.AddBar(total,
		mpb.PrependDecorators(decor.Name(label), counters),
		mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)),
	)
	p := &progress{app: a, stderr: a.err, container: container, bar: bar}
	a.err = container
	return p
}

// set moves the bar to done of total.
func (p *progress) set(done, total int64) {
	if p.bar != nil {
		p.bar.SetTotal(total, false)
		p.bar.SetCurrent(done)
	}
}

// finish stops the bar where it is and gives stderr back.
func (p *progress) finish() {
	if p.bar == nil {
		return
	}
	p.bar.Abort(false)
	p.container.Wait()
	p.app.err = p.stderr
}

// showsProgress reports whether there is somebody to watch a progress bar.
func (a *app) showsProgress() bool {
	f, ok := a.err.(*os.File)
	return ok && !a.quiet && cwriter.IsTerminal(int(f.Fd()))
}

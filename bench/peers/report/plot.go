package report

import (
	"errors"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/lightning-db/lightning/bench/peers/runner"
	"github.com/lightning-db/lightning/bench/peers/workloads"
)

// plotFile is a plot that was written.
type plotFile struct {
	name, title string
}

// bars are the charts of ratios to the baseline.
var bars = []struct {
	plotFile
	workloads []string
}{
	{plotFile{"reads.svg", "Time of reads, ratio to bbolt: lower is better"}, []string{"get-tx", "get-view", "seek", "scan"}},
	{plotFile{"writes.svg", "Time of writes, ratio to bbolt: lower is better"}, []string{"load-sorted", "load-random", "put", "put-sync", "churn"}},
	{plotFile{"rates.svg", "Throughput, ratio to bbolt: higher is better"}, []string{"get-view-cores", "writers-16", "writers-64", "big-put-sync", "big-put", "big-get"}},
}

// growthPlots are the workloads whose cost is drawn over the number of keys.
var growthPlots = []string{"load-random", "get-tx", "seek", "put", "open-clean", "open-killed"}

// writePlots writes to dir the plots for which there are results.
func writePlots(dir string, s *summaries) (written []plotFile, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, chart := range bars {
		p, err := barChart(s, chart.title, chart.workloads)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		if err := save(filepath.Join(dir, chart.name), [][]*plot.Plot{{p}}, 24*vg.Centimeter, 10*vg.Centimeter); err != nil {
			return nil, err
		}
		written = append(written, chart.plotFile)
	}
	grown, err := growthCurves(s)
	if err != nil || grown == nil {
		return written, err
	}
	file := plotFile{"growth.svg", "Cost of an operation as the database grows"}
	return append(written, file), save(filepath.Join(dir, file.name), grown, 24*vg.Centimeter, 24*vg.Centimeter)
}

// save draws plots in rows and columns into an SVG file.
func save(name string, plots [][]*plot.Plot, width, height vg.Length) error {
	canvas := vgsvg.New(width, height)
	tiles := draw.Tiles{
		Rows: len(plots), Cols: len(plots[0]),
		PadX: 5 * vg.Millimeter, PadY: 5 * vg.Millimeter, PadRight: 3 * vg.Millimeter, PadTop: 2 * vg.Millimeter,
	}
	for i, line := range plot.Align(plots, tiles, draw.New(canvas)) {
		for j, area := range line {
			if plots[i][j] != nil {
				plots[i][j].Draw(area)
			}
		}
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}

// barChart draws the ratios of the speed workloads, bars from 1 up and down on
// a logarithmic scale. It returns nil if nothing was measured.
func barChart(s *summaries, title string, names []string) (*plot.Plot, error) {
	var cells []cell
	for _, c := range s.cells {
		if c.family == runner.Speed && slices.Contains(names, c.workload) {
			cells = append(cells, c)
		}
	}
	compared := func(e string) bool {
		return e != baseline && slices.ContainsFunc(cells, func(c cell) bool {
			metric, _ := mainMetric(c.workload)
			_, ok := s.ratio(c, e, metric.Name)
			return ok
		})
	}
	shown := slices.DeleteFunc(engineNames(), func(e string) bool { return !compared(e) })
	if len(shown) == 0 {
		return nil, nil
	}
	p := plot.New()
	p.Title.Text = title
	p.Add(plotter.NewGrid())
	width := vg.Points(520 / float64(len(cells)*(len(shown)+1)))
	labels := make([]string, len(cells))
	for i, e := range shown {
		values := make(plotter.Values, len(cells))
		for j, c := range cells {
			labels[j] = c.workload
			metric, _ := mainMetric(c.workload)
			if ratio, ok := s.ratio(c, e, metric.Name); ok && ratio > 0 {
				values[j] = math.Log2(ratio)
			}
		}
		chart, err := plotter.NewBarChart(values, width)
		if err != nil {
			return nil, err
		}
		chart.Color = colorOf(e)
		chart.LineStyle.Width = 0
		chart.Offset = width * vg.Length(float64(i)-float64(len(shown)-1)/2)
		p.Add(chart)
		p.Legend.Add(e+gap, chart)
	}
	p.NominalX(labels...)
	p.Y.Tick.Marker = powers{}
	p.Y.Min, p.Y.Max = math.Floor(p.Y.Min), math.Ceil(p.Y.Max)
	p.X.Min -= 0.1
	p.X.Max += 0.25 * float64(len(cells)) // room for the legend
	styleLegend(p)
	return p, nil
}

// gap keeps a name off its sign where the reader's font is wider than ours.
const gap = "\u00a0\u00a0\u00a0"

// styleLegend puts the legend into the upper right corner.
func styleLegend(p *plot.Plot) {
	p.Legend.Top = true
	p.Legend.TextStyle.Font.Size = vg.Points(8)
	p.Legend.Padding = vg.Points(3)
	p.Legend.ThumbnailWidth = vg.Points(12)
}

// palette tells the engines apart, in the order of engineNames.
var palette = []color.Color{
	color.RGBA{0xd6, 0x27, 0x28, 0xff},
	color.RGBA{0x55, 0x55, 0x55, 0xff},
	color.RGBA{0xaa, 0xaa, 0xaa, 0xff},
	color.RGBA{0x1f, 0x77, 0xb4, 0xff},
	color.RGBA{0x17, 0xbe, 0xcf, 0xff},
	color.RGBA{0x2c, 0xa0, 0x2c, 0xff},
	color.RGBA{0xff, 0x7f, 0x0e, 0xff},
	color.RGBA{0x94, 0x67, 0xbd, 0xff},
}

// colorOf returns an engine's colour, which is the same in all plots.
func colorOf(engine string) color.Color {
	return palette[slices.Index(engineNames(), engine)%len(palette)]
}

// powers marks an axis of binary logarithms with the numbers themselves.
type powers struct{}

// Ticks implements plot.Ticker.
func (powers) Ticks(low, high float64) (ticks []plot.Tick) {
	for exponent := math.Floor(low); exponent <= math.Ceil(high); exponent++ {
		ticks = append(ticks, plot.Tick{Value: exponent, Label: tickText(math.Exp2(exponent))})
	}
	return ticks
}

// tickText writes a power of two, as a fraction below one.
func tickText(v float64) string {
	if v < 1 {
		return "1/" + strconv.Itoa(int(1/v))
	}
	return strconv.Itoa(int(v))
}

// growthCurves draws the cost of operations over the number of keys, a curve
// for each engine, two plots in a row. It returns nil unless there are at least
// two numbers of keys.
func growthCurves(s *summaries) (rows [][]*plot.Plot, err error) {
	var plots []*plot.Plot
	for _, name := range growthPlots {
		p, err := growthCurve(s, name)
		if err != nil {
			return nil, err
		}
		if p != nil {
			plots = append(plots, p)
		}
	}
	for i := 0; i < len(plots); i += 2 {
		line := []*plot.Plot{plots[i], nil}
		if i+1 < len(plots) {
			line[1] = plots[i+1]
		}
		rows = append(rows, line)
	}
	return rows, nil
}

// growthCurve draws one workload.
func growthCurve(s *summaries, name string) (*plot.Plot, error) {
	w, _ := workloads.ByName(name)
	metric := w.Metrics[0]
	p := plot.New()
	p.Title.Text = w.Title
	p.Title.TextStyle.Font.Size = vg.Points(9)
	p.X.Label.Text = "keys"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{keysLabel}, decades{timeLabel}
	p.Add(plotter.NewGrid())
	longest := 0
	for _, e := range engineNames() {
		var points plotter.XYs
		for _, c := range s.cells {
			if v, ok := s.get(c, e, metric.Name); ok && c.family == runner.Growth && c.workload == name && v.median > 0 {
				points = append(points, plotter.XY{X: float64(c.keys), Y: v.median})
			}
		}
		if len(points) == 0 {
			continue
		}
		longest = max(longest, len(points))
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, dots.Color = colorOf(e), colorOf(e)
		p.Add(line, dots)
		p.Legend.Add(e+gap, line, dots)
	}
	if longest < 2 {
		return nil, nil
	}
	p.X.Max *= math.Pow(p.X.Max/p.X.Min, 0.3) // room for the legend
	styleLegend(p)
	return p, nil
}

// decades marks a logarithmic axis with texts of its powers of ten.
type decades struct {
	text func(v float64) string
}

// Ticks implements plot.Ticker.
func (d decades) Ticks(low, high float64) []plot.Tick {
	ticks := plot.LogTicks{Prec: -1}.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = d.text(ticks[i].Value)
		}
	}
	return ticks
}

func keysLabel(v float64) string { return keysText(int(math.Round(v))) }
func timeLabel(v float64) string { return format(v, workloads.Nanoseconds) }

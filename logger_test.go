package lightning

import (
	"bytes"
	"errors"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"
)

var (
	_ Logger = (*DefaultLogger)(nil)
	_ Logger = silentLogger{}
)

func newBufferLogger(prefix string, flags int) (*DefaultLogger, *bytes.Buffer) {
	var buf bytes.Buffer
	return &DefaultLogger{Logger: log.New(&buf, prefix, flags)}, &buf
}

func TestDefaultLogger_Levels(t *testing.T) {
	tests := []struct {
		name string
		call func(l *DefaultLogger)
		want string
	}{
		{"Info", func(l *DefaultLogger) { l.Info("a", "b", 1, 2) }, "P INFO: ab1 2\n"},
		{"Infof", func(l *DefaultLogger) { l.Infof("n=%d", 1) }, "P INFO: n=1\n"},
		{"Warning", func(l *DefaultLogger) { l.Warning("w") }, "P WARN: w\n"},
		{"Warningf", func(l *DefaultLogger) { l.Warningf("w%d", 2) }, "P WARN: w2\n"},
		{"Error", func(l *DefaultLogger) { l.Error("e") }, "P ERROR: e\n"},
		{"Errorf", func(l *DefaultLogger) { l.Errorf("e%d", 3) }, "P ERROR: e3\n"},
		{"Debug", func(l *DefaultLogger) { l.Debug("d") }, ""},
		{"Debugf", func(l *DefaultLogger) { l.Debugf("d%d", 4) }, ""},
		{"Debug enabled", func(l *DefaultLogger) { l.EnableDebug(); l.Debug("d") }, "P DEBUG: d\n"},
		{"Debugf enabled", func(l *DefaultLogger) { l.EnableDebug(); l.Debugf("d%d", 5) }, "P DEBUG: d5\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, buf := newBufferLogger("P ", 0)
			tt.call(l)
			if got := buf.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDefaultLogger_EnableTimestamps_AddsFlags(t *testing.T) {
	l, buf := newBufferLogger("", log.Lmsgprefix)
	l.EnableTimestamps()
	if got, want := l.Flags(), log.Lmsgprefix|log.Ldate|log.Ltime; got != want {
		t.Errorf("Flags: got %d, want %d", got, want)
	}
	l.Info("x")
	if got, want := len(buf.String()), len("2006/01/02 15:04:05 INFO: x\n"); got != want {
		t.Errorf("line %q: got %d bytes, want %d", buf, got, want)
	}
}

func TestDefaultLogger_ReportsTheCallersFile(t *testing.T) {
	l, buf := newBufferLogger("", log.Lshortfile)
	l.Warningf("x")
	if got := buf.String(); !strings.HasPrefix(got, "logger_test.go:") {
		t.Errorf("got %q, want it to begin with logger_test.go", got)
	}
}

func TestDefaultLogger_Panic(t *testing.T) {
	tests := map[string]func(l *DefaultLogger){
		"Panic":  func(l *DefaultLogger) { l.Panic("n=", 1) },
		"Panicf": func(l *DefaultLogger) { l.Panicf("n=%d", 1) },
	}
	for name, call := range tests {
		t.Run(name, func(t *testing.T) {
			l, buf := newBufferLogger("P ", 0)
			defer func() {
				if got := recover(); got != "n=1" {
					t.Errorf("recovered %v, want n=1", got)
				}
				if got, want := buf.String(), "P n=1\n"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}()
			call(l)
		})
	}
}

// Fatal ends the process, so the test runs itself as a child and looks at how the child ended.
func TestDefaultLogger_Fatal(t *testing.T) {
	const env = "LIGHTNING_TEST_FATAL"
	if os.Getenv(env) != "" {
		l := &DefaultLogger{Logger: log.New(os.Stderr, "", 0)}
		if os.Getenv(env) == "Fatalf" {
			l.Fatalf("bye %d", 1)
		}
		l.Fatal("bye ", 1)
	}
	for _, name := range []string{"Fatal", "Fatalf"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDefaultLogger_Fatal$")
		cmd.Env = append(os.Environ(), env+"="+name)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s: got error %v, want exit status 1", name, err)
		}
		if got, want := string(out), "FATAL: bye 1\n"; !strings.HasPrefix(got, want) {
			t.Errorf("%s: got output %q, want %q", name, got, want)
		}
	}
}

func TestDiscardLogger_NothingHappens(t *testing.T) {
	l := discardLogger()
	l.Debug("x")
	l.Debugf("%d", 1)
	l.Info("x")
	l.Infof("%d", 1)
	l.Warning("x")
	l.Warningf("%d", 1)
	l.Error("x")
	l.Errorf("%d", 1)
	l.Panic("x")
	l.Panicf("%d", 1)
	l.Fatal("x")
	l.Fatalf("%d", 1)
}

func TestHexKVStringer(t *testing.T) {
	s := HexKVStringer()
	if got, want := s.KeyToString([]byte("ab\xff")), "6162ff"; got != want {
		t.Errorf("KeyToString: got %q, want %q", got, want)
	}
	if got, want := s.ValueToString([]byte{0, 0x1a}), "001a"; got != want {
		t.Errorf("ValueToString: got %q, want %q", got, want)
	}
	if got := s.ValueToString(nil); got != "" {
		t.Errorf("ValueToString(nil): got %q, want nothing", got)
	}
}

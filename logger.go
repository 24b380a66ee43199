package lightning

import (
	"encoding/hex"
	"fmt"
	"log"
	"os"
)

// Logger receives messages about a database. Its methods follow fmt.Sprint and fmt.Sprintf, and must be
// safe for concurrent use. The engine calls none of Fatal, Fatalf, Panic and Panicf; they are here so that
// loggers written for bbolt fit.
type Logger interface {
	Debug(v ...interface{})
	Debugf(format string, v ...interface{})

	Error(v ...interface{})
	Errorf(format string, v ...interface{})

	Info(v ...interface{})
	Infof(format string, v ...interface{})

	Warning(v ...interface{})
	Warningf(format string, v ...interface{})

	Fatal(v ...interface{})
	Fatalf(format string, v ...interface{})

	Panic(v ...interface{})
	Panicf(format string, v ...interface{})
}

// callerDepth makes log.Logger report the line that called the Logger method: output, the method, the caller.
const callerDepth = 3

// DefaultLogger is a Logger that writes to a log.Logger, one line a message, with the level in front.
// The embedded Logger must be set. Debug messages are dropped until EnableDebug is called.
type DefaultLogger struct {
	*log.Logger
	debug bool
}

// EnableTimestamps puts the date and the time in front of each message from now on.
func (l *DefaultLogger) EnableTimestamps() {
	l.SetFlags(l.Flags() | log.Ldate | log.Ltime)
}

// EnableDebug lets debug messages through. Call it before the logger is shared between goroutines.
func (l *DefaultLogger) EnableDebug() {
	l.debug = true
}

// Debug writes v at level DEBUG if EnableDebug was called.
func (l *DefaultLogger) Debug(v ...interface{}) {
	if l.debug {
		l.output("DEBUG: " + fmt.Sprint(v...))
	}
}

// Debugf is Debug with a format.
func (l *DefaultLogger) Debugf(format string, v ...interface{}) {
	if l.debug {
		l.output("DEBUG: " + fmt.Sprintf(format, v...))
	}
}

// Info writes v at level INFO.
func (l *DefaultLogger) Info(v ...interface{}) {
	l.output("INFO: " + fmt.Sprint(v...))
}

// Infof is Info with a format.
func (l *DefaultLogger) Infof(format string, v ...interface{}) {
	l.output("INFO: " + fmt.Sprintf(format, v...))
}

// Warning writes v at level WARN.
func (l *DefaultLogger) Warning(v ...interface{}) {
	l.output("WARN: " + fmt.Sprint(v...))
}

// Warningf is Warning with a format.
func (l *DefaultLogger) Warningf(format string, v ...interface{}) {
	l.output("WARN: " + fmt.Sprintf(format, v...))
}

// Error writes v at level ERROR.
func (l *DefaultLogger) Error(v ...interface{}) {
	l.output("ERROR: " + fmt.Sprint(v...))
}

// Errorf is Error with a format.
func (l *DefaultLogger) Errorf(format string, v ...interface{}) {
	l.output("ERROR: " + fmt.Sprintf(format, v...))
}

// Fatal writes v at level FATAL and ends the process with status 1.
func (l *DefaultLogger) Fatal(v ...interface{}) {
	l.output("FATAL: " + fmt.Sprint(v...))
	os.Exit(1)
}

// Fatalf is Fatal with a format.
func (l *DefaultLogger) Fatalf(format string, v ...interface{}) {
	l.output("FATAL: " + fmt.Sprintf(format, v...))
	os.Exit(1)
}

// Panic writes v and panics with the message, a string.
func (l *DefaultLogger) Panic(v ...interface{}) {
	message := fmt.Sprint(v...)
	l.output(message)
	panic(message)
}

// Panicf is Panic with a format.
func (l *DefaultLogger) Panicf(format string, v ...interface{}) {
	message := fmt.Sprintf(format, v...)
	l.output(message)
	panic(message)
}

// output writes one line. When that fails nobody is left to tell: a log that cannot be written must not
// make the database fail.
func (l *DefaultLogger) output(line string) {
	if err := l.Output(callerDepth, line); err != nil {
		return
	}
}

// silentLogger drops every message. Its Fatal and Panic return like the others: a database must not end
// the process of the program that embeds it.
type silentLogger struct{}

// discardLogger returns the logger of a database that was opened without one.
func discardLogger() Logger { return silentLogger{} }

func (silentLogger) Debug(...interface{})            {}
func (silentLogger) Debugf(string, ...interface{})   {}
func (silentLogger) Error(...interface{})            {}
func (silentLogger) Errorf(string, ...interface{})   {}
func (silentLogger) Info(...interface{})             {}
func (silentLogger) Infof(string, ...interface{})    {}
func (silentLogger) Warning(...interface{})          {}
func (silentLogger) Warningf(string, ...interface{}) {}
func (silentLogger) Fatal(...interface{})            {}
func (silentLogger) Fatalf(string, ...interface{})   {}
func (silentLogger) Panic(...interface{})            {}
func (silentLogger) Panicf(string, ...interface{})   {}

// KVStringer turns keys and values into text for messages about a damaged database.
type KVStringer interface {
	KeyToString([]byte) string
	ValueToString([]byte) string
}

// HexKVStringer returns a KVStringer that writes keys and values as lower-case hexadecimal digits.
func HexKVStringer() KVStringer { return hexStringer{} }

type hexStringer struct{}

func (hexStringer) KeyToString(key []byte) string     { return hex.EncodeToString(key) }
func (hexStringer) ValueToString(value []byte) string { return hex.EncodeToString(value) }

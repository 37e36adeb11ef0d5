package config

import (
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap/zapcore"
)

// maxBytes leaves room for sums of sizes, and for the one byte more that tells "too large".
const maxBytes = 1 << 60

// Bytes is a size in bytes, above zero and at most 1EiB; its text is a number with a unit (256MiB,
// 1GB) or without.
type Bytes int64

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil {
		return err
	}
	if n == 0 || n > maxBytes {
		return fmt.Errorf("%d bytes are out of range", n)
	}
	*b = Bytes(n)
	return nil
}

// String gives the size as it may be written.
func (b Bytes) String() string { return humanize.IBytes(uint64(b)) }

// Secret is text that is never printed.
type Secret string

// String hides a secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// Format hides a secret from every verb, also those that look past String (%#v, %d).
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText hides a secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Access says whom a stored answer serves.
type Access string

// The values of ACCESS.
const (
	AccessPublic  Access = "public"
	AccessGranted Access = "granted"
	AccessAuto    Access = "auto"
)

// UnmarshalText reads an access mode.
func (a *Access) UnmarshalText(text []byte) error {
	return oneOf(a, text, AccessPublic, AccessGranted, AccessAuto)
}

// LogFormat says how log lines look.
type LogFormat string

// The values of LOG_FORMAT.
const (
	LogJSON    LogFormat = "json"
	LogConsole LogFormat = "console"
)

// UnmarshalText reads a log format.
func (f *LogFormat) UnmarshalText(text []byte) error { return oneOf(f, text, LogJSON, LogConsole) }

// LogLevel is the least severe level that is written.
type LogLevel string

// The values of LOG_LEVEL.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// UnmarshalText reads a log level.
func (l *LogLevel) UnmarshalText(text []byte) error {
	return oneOf(l, text, LogDebug, LogInfo, LogWarn, LogError)
}

// Zap gives the level as zap has it.
func (l LogLevel) Zap() zapcore.Level {
	switch l {
	case LogDebug:
		return zapcore.DebugLevel
	case LogWarn:
		return zapcore.WarnLevel
	case LogError:
		return zapcore.ErrorLevel
	default:
		return zapcore.InfoLevel
	}
}

// oneOf sets v to text if that is one of values.
func oneOf[T ~string](v *T, text []byte, values ...T) error {
	for _, value := range values {
		if string(value) == string(text) {
			*v = value
			return nil
		}
	}
	return fmt.Errorf("not one of %v", values)
}

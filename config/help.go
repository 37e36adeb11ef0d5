package config

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
)

// Row is what the table says of one variable.
type Row struct {
	Variable, Default, Meaning string
	Coming                     bool // the feature is not built yet
}

// Table gives a row a variable, in the struct's order.
func Table() []Row {
	t := reflect.TypeFor[Config]()
	rows := make([]Row, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		row := Row{Variable: variable(f), Default: f.Tag.Get("envDefault"), Meaning: f.Tag.Get("meaning")}
		if row.Default == "" {
			row.Default = "empty"
		}
		if strings.Contains(f.Tag.Get("env"), ",required") {
			row.Default = "required"
		}
		row.Coming = slices.Contains(Coming(), row.Variable)
		rows = append(rows, row)
	}
	return rows
}

// describe is the meaning, and whether it is true yet.
func (r Row) describe() string {
	if r.Coming {
		return r.Meaning + " (checked, but not used yet)"
	}
	return r.Meaning
}

// Help writes the table for people. Errors of w are its owner's.
func Help(w io.Writer) {
	fmt.Fprint(w, "Warmfront is a caching sidecar in front of a backtest server.\nIt is configured by environment variables:\n\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "VARIABLE\tDEFAULT\tMEANING")
	for _, row := range Table() {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", row.Variable, row.Default, row.describe())
	}
	_ = tw.Flush()
}

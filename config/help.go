package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// Row is what the table says of one variable.
type Row struct {
	Variable, Default, Meaning string
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
		rows = append(rows, row)
	}
	return rows
}

// Help writes the table for people. Errors of w are its owner's.
func Help(w io.Writer) {
	fmt.Fprint(w, "Warmfront is a caching sidecar in front of a backtest server.\nIt is configured by environment variables:\n\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "VARIABLE\tDEFAULT\tMEANING")
	for _, row := range Table() {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", row.Variable, row.Default, row.Meaning)
	}
	_ = tw.Flush()
}

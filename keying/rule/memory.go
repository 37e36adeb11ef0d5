package rule

// The rules about what the server's process holds in its memory.
const (
	// PricesFlushed: after each clearing the server's price databases are pushed out of its memory.
	PricesFlushed Rule = "prices-flushed"
	// OutlivedFlushed: they are again when a computation that began before has ended after.
	OutlivedFlushed Rule = "outlived-flushed"
	// TablesAsked: the benchmark tables are asked whether they have the newest day.
	TablesAsked Rule = "tables-asked"
	// RestatedUnproven: once history was rewritten, dates prove nothing of what the server's memory holds.
	RestatedUnproven Rule = "restated-unproven"
	// RestartNoticed: what depended on the memory of a server that was restarted is asked for again.
	RestartNoticed Rule = "restart-noticed"
)

// Package rule lets a test take one protective rule out of Warmfront, to show that the oracle finds
// its lack: a check that can't catch a missing rule proves nothing. Without the build tag "mutations"
// every rule is in force and the question costs nothing.
package rule

// A Rule is one of those that keep Warmfront from a wrong answer.
type Rule string

// The rules that can be taken out, by what holds while they are in force.
const (
	// WriteForgets: a write to a bot makes its revision unknown to the replica that it passes.
	WriteForgets Rule = "write-forgets"
	// WriteShared: other replicas hear of it before the server does.
	WriteShared Rule = "write-shared"
	// WriteUnbelieved: while a write is under way, what is seen of the bot is believed for that look-up only.
	WriteUnbelieved Rule = "write-unbelieved"
	// RevisionAfter: an answer is kept only if the bot's revision was the same before and after.
	RevisionAfter Rule = "revision-after"
	// RevisionKeyed: a saved bot's revision is part of the key.
	RevisionKeyed Rule = "revision-keyed"
	// MetricsKeyed: a correlation's key covers the saved metrics of its bots.
	MetricsKeyed Rule = "metrics-keyed"
	// CutOffAsks: a replica that can't reach Redis asks for the revisions of the bots before each hit.
	CutOffAsks Rule = "cut-off-asks"
	// RevisionMax: what was seen of a bot is believed for REVISION_MAX at most while the server does not say it again.
	RevisionMax Rule = "revision-max"
	// GenerationKeyed: the data's generation is part of the key.
	GenerationKeyed Rule = "generation-keyed"
	// DataAfter: an answer is kept only if the generation was the same before and after.
	DataAfter Rule = "data-after"
	// Provisional: while a sync goes on or settles, answers are kept for PROVISIONAL_TTL only.
	Provisional Rule = "provisional"
	// SettledMoves: the end of a sync begins a generation of its own.
	SettledMoves Rule = "settled-moves"
	// FirstForced: the first fill of a bot in a generation seen to begin is computed afresh.
	FirstForced Rule = "first-forced"
	// ForeignForced: a fill for another benchmark than the default is computed afresh.
	ForeignForced Rule = "foreign-forced"
	// OptionsNamed: a sanity report is kept only if its meta names the options asked for.
	OptionsNamed Rule = "options-named"
	// BehindShort: an answer that ends before the data does is kept for minutes only.
	BehindShort Rule = "behind-short"
	// RowsProven: an answer that the server may have built from rows older than the generation is kept for minutes only.
	RowsProven Rule = "rows-proven"
	// RouteProven: a stored answer serves everyone only where a request without credentials has succeeded.
	RouteProven Rule = "route-proven"
	// RefusalShared: where the server has refused somebody, no replica serves everyone from what was stored before.
	RefusalShared Rule = "refusal-shared"
	// AdminClears: an admin's clearing that passes through begins a generation.
	AdminClears Rule = "admin-clears"
	// ContentTypeSent: a body is keyed only if the server reads it as JSON, and is sent as such.
	ContentTypeSent Rule = "content-type-sent"
	// OriginShown: what is learned of an Origin is learned from a request that showed it to the server.
	OriginShown Rule = "origin-shown"
	// OrderKept: names keep the order they were sent in, but where the engine reads them by name (trap 17).
	OrderKept Rule = "order-kept"
	// SpecialIDs: ids that JavaScript takes for something else than a name are keyed as spelled (trap 18).
	SpecialIDs Rule = "special-ids"
	// EditorsFields: the editor's fields are left out of nodes only; in a condition they count (trap 17).
	EditorsFields Rule = "editors-fields"
	// HiddenWrites: what deletes bots although it does not look so is a write to all bots.
	HiddenWrites Rule = "hidden-writes"
)

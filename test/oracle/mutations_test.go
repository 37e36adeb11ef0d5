package oracle

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"warmfront/keying/rule"
	"warmfront/test/harness"
)

// mutation is how the lack of a rule is looked for: random operations of a plan in which it shows soon,
// or else a scenario.
type mutation struct {
	rule  rule.Rule
	shows string // what the answer that is wrong for the lack of it is wrong in
	plan  func(*Plan)
	ops   int // at most
	play  func(*Plan) []Op
	// cover is a rule that does as well where this one is lacking: only without both is an answer wrong.
	cover rule.Rule
}

const (
	oldBot  = `another strategy|was not there`
	oldBars = `the bars`
)

// made are the operations, and the plan that they belong to.
func (m mutation) made(seed uint64) (Plan, []Op) {
	p := usual()
	m.plan(&p)
	if m.play != nil {
		return p, m.play(&p)
	}
	return p, p.operations(seed, m.ops)
}

func scenario(p *Plan) { p.Workers = 1 }

func usually(*Plan) {}

// longSync is one that lasts so long that a scenario can tell its parts apart.
func longSync(p *Plan) { p.Workers, p.SyncTook, p.Settle = 1, 12*time.Second, 6*time.Second }

// mutations has every rule that Warmfront can be built without.
var mutations = []mutation{
	{rule: rule.WriteForgets, shows: oldBot, plan: editing, ops: 1500},
	{rule: rule.WriteShared, shows: oldBot, plan: editing, ops: 1500},
	{rule: rule.WriteUnbelieved, shows: oldBot, plan: slowEditing, ops: 4000},
	{rule: rule.RevisionAfter, shows: oldBot, plan: slowEditing, ops: 4000},
	{rule: rule.RevisionKeyed, shows: oldBot, plan: editing, ops: 1500},
	{rule: rule.RevisionMax, shows: oldBot, plan: around, play: func(*Plan) []Op { return busyServer() }},
	{rule: rule.MetricsKeyed, shows: `with the metrics`, plan: correlating, ops: 1500},
	{rule: rule.CutOffAsks, shows: oldBot, plan: outages, ops: 4000},
	{rule: rule.GenerationKeyed, shows: oldBars, plan: syncing, ops: 2000},
	{rule: rule.DataAfter, shows: oldBars, plan: usually, play: acrossASync, cover: rule.GenerationKeyed},
	{rule: rule.Provisional, shows: oldBars, plan: slowSyncing, ops: 4000},
	{rule: rule.SettledMoves, shows: oldBars, plan: longSync, play: lateTicker},
	{rule: rule.FirstForced, shows: oldBars, plan: scenario, play: func(*Plan) []Op { return oldRow() }, cover: rule.RowsProven},
	{rule: rule.ForeignForced, shows: `^benchmark`, plan: scenario, play: func(*Plan) []Op { return otherBenchmarks() }},
	{rule: rule.OptionsNamed, shows: `^(seed|blockSize|years)`, plan: reporting, ops: 2000},
	{rule: rule.BehindShort, shows: `^kept for long`, plan: scenario, play: func(*Plan) []Op { return behindTheData() }},
	{rule: rule.RowsProven, shows: oldBars, plan: scenario, play: func(*Plan) []Op { return oldRows() }},
	{rule: rule.ContentTypeSent, shows: `^costBps`, plan: scenario, play: func(*Plan) []Op { return unreadBody() }},
	{rule: rule.HiddenWrites, shows: oldBot, plan: scenario, play: func(*Plan) []Op { return waitingList() }},
	{rule: rule.OriginShown, shows: `Origin`, plan: scenario, play: func(*Plan) []Op { return hiddenOrigin() }},
	{rule: rule.OrderKept, shows: `^strategy`, plan: scenario, play: func(*Plan) []Op { return lookalikes(twoSame, fieldsSwapped, slotsSame, slotsSwapped) }},
	{rule: rule.SpecialIDs, shows: `^strategy`, plan: scenario, play: func(*Plan) []Op { return lookalikes(plainID, prototypeID, noID, otherID) }},
	{rule: rule.EditorsFields, shows: `^strategy`, plan: scenario, play: func(*Plan) []Op { return lookalikes(twoSame, collapsedCondition) }},
	{rule: rule.PricesFlushed, shows: oldBars, plan: loggedIn, play: func(*Plan) []Op { return oldDatabases() }},
	{rule: rule.OutlivedFlushed, shows: oldBars, plan: loggedIn, play: lateBuild},
	{rule: rule.TablesAsked, shows: oldBars, plan: loggedIn, play: func(*Plan) []Op { return oldTables() }},
	{rule: rule.RestatedUnproven, shows: oldBars, plan: loggedOut, play: func(*Plan) []Op { return oldMemory() }},
	{rule: rule.RestartNoticed, shows: oldBars, plan: loggedOut, play: func(*Plan) []Op { return restarted() }},
	{rule: rule.RouteProven, shows: `refused`, plan: anyAccess, play: func(*Plan) []Op { return protected() }},
	{rule: rule.RefusalShared, shows: `refused`, plan: anyAccess, play: func(*Plan) []Op { return becomesProtected() }},
	{rule: rule.AdminClears, shows: oldBars, plan: scenario, play: func(*Plan) []Op { return staleBars() }},
}

func editing(p *Plan) {
	p.Calms, p.Mix = false, Mix{"run": 60, "edit": 12, "tag": 3, "bot-sanity": 10, "delete": 1, "restore": 3, "create": 1}
}

// around has writes that Warmfront does not see.
func around(p *Plan) { p.Workers, p.Revision = 1, 300*time.Millisecond }

func slowEditing(p *Plan) {
	editing(p)
	p.Delay = 0.5
}

func correlating(p *Plan) {
	p.Calms, p.Mix = false, Mix{"run": 30, "optimize": 40, "recommend": 20, "metrics": 6}
}

func outages(p *Plan) {
	editing(p)
	p.Mix = p.Mix.with(Mix{"outage": 2, "restart": 0.2})
}

func syncing(p *Plan) {
	p.Calms, p.Mix = false, everything().with(Mix{"sync": 1.5, "candles": 20, "edit": 1, "delete": 0, "outage": 0, "restart": 0, "create": 0, "memory-lost": 0})
}

func reporting(p *Plan) {
	p.Calms, p.Mix = false, Mix{"bot-sanity": 80, "edit": 8, "run": 10, "invalidate-bot": 1}
}

// slowSyncing has syncs that go on for long after the last that can be seen of them.
func slowSyncing(p *Plan) {
	syncing(p)
	p.SyncTook, p.Settle = 3*time.Second, time.Second
	p.Mix = Mix{"run": 25, "optimize": 25, "recommend": 10, "candles": 20, "run-now": 0.2, "download": 0.2}
}

// quickly caught are those that every go test looks for; make mutations looks for all.
var quickly = []rule.Rule{rule.RevisionKeyed, rule.WriteShared, rule.ForeignForced}

// TestOracleCatchesAMissingRule takes one rule after the other out of Warmfront: an oracle that does not
// notice is worth nothing. MUTATIONS=all takes each, MUTATIONS=<rule>,<rule> these.
func TestOracleCatchesAMissingRule(t *testing.T) {
	mutable, err := harness.NewLab("node", "redis-server")
	if err == nil {
		err = mutable.Build("mutations")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mutable.Close() })
	seed := number(t, "ORACLE_SEED", 1)
	var table []string
	for _, m := range chosen() {
		t.Run(string(m.rule), func(t *testing.T) {
			if !isAsked(t, m.rule) {
				table = append(table, fmt.Sprintf("%-17s NOT asked for: Warmfront can't be built without it", m.rule))
				t.Fatal(table[len(table)-1])
			}
			row, caught := catch(t, mutable, m, seed)
			table = append(table, row)
			if !caught {
				t.Error(row)
			}
		})
	}
	t.Log("\n" + strings.Join(table, "\n"))
}

func chosen() (some []mutation) {
	names := os.Getenv("MUTATIONS")
	for _, m := range mutations {
		fast := false
		for _, r := range quickly {
			fast = fast || r == m.rule
		}
		if names == "all" || names == "" && fast || strings.Contains(","+names+",", ","+string(m.rule)+",") {
			some = append(some, m)
		}
	}
	return some
}

// TestOracleFindsNothingInTheMutationsPlans plays them with all rules in force, as many operations as it
// took to catch the lack of the rule: otherwise that is not what was caught. CONTROLS says which.
func TestOracleFindsNothingInTheMutationsPlans(t *testing.T) {
	for _, m := range mutations {
		if names := os.Getenv("CONTROLS"); names == "all" || strings.Contains(","+names+",", ","+string(m.rule)+",") {
			t.Run(string(m.rule), func(t *testing.T) {
				seed := number(t, "ORACLE_SEED", 1)
				p, ops := m.made(seed)
				judge(t, p, ops, seed)
			})
		}
	}
}

// catch plays without the rule and says what became of it. Of a rule that another covers, the lack of both is
// looked for, and that of either must make nothing wrong: otherwise it is not this rule's that was found.
func catch(t *testing.T, mutable *harness.Lab, m mutation, seed uint64) (row string, caught bool) {
	t.Helper()
	p, ops := m.made(seed)
	without := []rule.Rule{m.rule}
	if m.cover != "" {
		for _, r := range []rule.Rule{m.rule, m.cover} {
			p.Without = string(r)
			if _, wrong, err := play(mutable, p, ops); err != nil || wrong != nil {
				return fmt.Sprintf("%-17s without %s alone: %v, %v", m.rule, r, err, wrong), false
			}
		}
		without = append(without, m.cover)
	}
	name := strings.Trim(fmt.Sprint(without), "[]")
	p.Without = strings.ReplaceAll(name, " ", ",")
	summary, wrong, err := play(mutable, p, ops)
	if err != nil {
		t.Fatal(err)
	}
	if wrong == nil {
		return fmt.Sprintf("%-17s not caught in %d operations, %.1fs", name, summary.Ops, summary.Took.Seconds()), false
	}
	if testing.Verbose() {
		t.Log(wrong)
	}
	if !regexp.MustCompile(m.shows).MatchString(wrong.reason()) {
		return fmt.Sprintf("%-17s caught SOMETHING ELSE after %d operations: %.150s", name, wrong.Op.N, wrong.sort()), false
	}
	return fmt.Sprintf("%-17s caught after %4d operations, %5.1fs: %.150s", name, wrong.Op.N, summary.Took.Seconds(), wrong.sort()), true
}

// isAsked reports whether Warmfront's source asks anywhere if the rule is off.
func isAsked(t *testing.T, r rule.Rule) (asked bool) {
	t.Helper()
	name := ""
	for n, value := range ruleNames(t) {
		if value == string(r) {
			name = n
		}
	}
	for _, dir := range []string{"proxy", "keying"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			asked = asked || strings.Contains(string(source), "rule.Off(rule."+name+")")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return asked
}

// ruleNames gives every rule's name in the source, and what it is called in WARMFRONT_WITHOUT.
func ruleNames(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "keying", "rule", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal("the rules' source is not found", err)
	}
	names := map[string]string{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(\w+) +Rule = "(.*)"`).FindAllStringSubmatch(string(source), -1) {
			names[found[1]] = found[2]
		}
	}
	return names
}

// TestOracleHasAMutationForEveryRule keeps the list complete.
func TestOracleHasAMutationForEveryRule(t *testing.T) {
	listed := map[string]bool{}
	for _, m := range mutations {
		listed[string(m.rule)] = true
	}
	for _, name := range ruleNames(t) {
		if !listed[name] {
			t.Errorf("no mutation takes %q out", name)
		}
	}
}

package oracle

import "testing"

// Servers that let not everybody have what they compute.

func anyAccess(p *Plan) { p.Workers, p.Access = 1, "auto" }

func asAdmin(op Op) Op {
	op.Admin = true
	return op
}

func asStranger(op Op) Op {
	op.Refused = true
	return op
}

// protected: the server asks for a login on POST only, and shows nothing of it at a bot that it does not know.
func protected() []Op {
	return renumbered([]Op{
		{Kind: "access", Mode: "post"}, {Kind: "flush"}, {Kind: "restart", Replica: 0}, pause(2000),
		asAdmin(runOf(0, 0, "CC")), asAdmin(runOf(0, 0, "CC")), asStranger(runOf(0, 0, "CC")),
	})
}

// becomesProtected: one replica hears that the server refuses strangers now, and the other has its answer in store.
func becomesProtected() []Op {
	return renumbered([]Op{
		runOf(0, 0, "CC"), runOf(1, 0, "CC"), runOf(1, 0, "CC"), {Kind: "access", Mode: "token"},
		asStranger(runOf(0, 0, "OO")), pause(1000), asStranger(runOf(1, 0, "CC")),
	})
}

func TestStrangersAreServedNothingThatTheServerWouldRefuseThem(t *testing.T) {
	t.Parallel()
	for name, ops := range map[string][]Op{"protected all the time": protected(), "protected from now on": becomesProtected()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := usual()
			anyAccess(&p)
			once(t, p, 1, ops...)
		})
	}
}

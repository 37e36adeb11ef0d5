package keying

import (
	"slices"

	"warmfront/keying/rule"
)

// The engine hashes JSON.stringify of a node's conditions, and walks the slots of its children in their
// order, to find subtrees that it can merge; a merge can change the result (trap 17). So a request keeps the
// order of names that it was sent with, but where nothing the engine does depends on it: in the body itself,
// in splitConfig, and in nodes, whose own fields are read by name. What is not known to be a node isn't
// taken for one.

// arrange leaves one spelling of a body among those that mean the same to the server, its strategy aside.
func (v *value) arrange() {
	v.sort()
	if split := v.get("splitConfig"); split != nil {
		split.sort()
	}
	if rule.Off(rule.OrderKept) {
		v.sortAll()
	}
}

// arrangeStrategy does so for a strategy: the root node.
func (v *value) arrangeStrategy() {
	if rule.Off(rule.EditorsFields) {
		v.dropEverywhere("collapsed", "bgColor")
	}
	v.arrangeNode()
	if rule.Off(rule.OrderKept) {
		v.sortAll()
	}
}

// arrangeNode does so for a node and those below it.
func (v *value) arrangeNode() {
	kind := v.get("kind")
	if v.kind != '{' || kind == nil || kind.kind != '"' {
		return
	}
	v.kids = slices.DeleteFunc(v.kids, func(m member) bool { return m.scalar() && unread(m.name) })
	v.sort()
	slots := v.get("children")
	if slots == nil || slots.kind != '{' {
		return
	}
	for i := range slots.kids {
		if slot := &slots.kids[i]; slot.kind == '[' {
			for j := range slot.kids {
				slot.kids[j].arrangeNode()
			}
		}
	}
}

// unread reports whether a field of a node, if it is a scalar, is the editor's own or another that the engine
// never reads (trap 19). Not even a scalar is to be found where there is no node: in a condition, collapsed and
// bgColor are hashed like any other field (trap 17).
func unread(name string) bool {
	switch name {
	case "collapsed", "bgColor", "title",
		"weightingThen", "weightingElse", "cappedFallbackThen", "cappedFallbackElse", "volWindowThen", "volWindowElse",
		"conditionLogic", "callRefId", "rollingWindow", "rankBy":
		return true
	}
	return false
}

// sortAll gives a value its RFC 8785 form.
func (v *value) sortAll() {
	v.sort()
	for i := range v.kids {
		v.kids[i].sortAll()
	}
}

// dropEverywhere removes scalar fields of those names at any depth.
func (v *value) dropEverywhere(names ...string) {
	if v.kind == '{' {
		v.kids = slices.DeleteFunc(v.kids, func(m member) bool { return m.scalar() && slices.Contains(names, m.name) })
	}
	for i := range v.kids {
		v.kids[i].dropEverywhere(names...)
	}
}

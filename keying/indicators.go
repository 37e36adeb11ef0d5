package keying

import "slices"

// dropUnusedIndicators removes custom indicators that nothing uses (trap 19): the browser sends all that the
// user has. A tree names one in a metric, by "custom:" and its id. To be on the safe side one counts as used if
// its id or its name is mentioned anywhere in the strategy, or in another that is used. What isn't a list of
// objects with ids is kept whole.
func (in *input) dropUnusedIndicators() {
	list, payload := in.body.get("customIndicators"), in.body.get("payload")
	if list == nil || list.kind != '[' || payload == nil || payload.kind != '{' {
		return
	}
	var texts []string       // ids and names
	of := map[string][]int{} // the indicators that have them
	for i := range list.kids {
		id := list.kids[i].get("id")
		if list.kids[i].kind != '{' || id == nil || id.kind != '"' || id.text == "" {
			return
		}
		for _, v := range []*value{id, list.kids[i].get("name")} {
			if v == nil || v.kind != '"' || v.text == "" {
				continue
			}
			if of[v.text] == nil {
				texts = append(texts, v.text)
			}
			of[v.text] = append(of[v.text], i)
		}
	}
	used := make([]bool, len(list.kids))
	todo := []*value{payload}
	finder := newFinder(texts)
	for len(todo) > 0 {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		v.findIn(finder, func(n int) {
			for _, i := range of[texts[n]] {
				if !used[i] {
					used[i] = true
					todo = append(todo, &list.kids[i].value)
				}
			}
		})
	}
	i := -1
	list.kids = slices.DeleteFunc(list.kids, func(member) bool { i++; return !used[i] })
}

// findIn looks into all names and texts below v.
func (v *value) findIn(f *finder, found func(n int)) {
	if v.kind != '{' && v.kind != '[' {
		f.find(v.text, found)
	}
	for i := range v.kids {
		f.find(v.kids[i].name, found)
		v.kids[i].findIn(f, found)
	}
}

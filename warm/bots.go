package warm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"warmfront/keying"
)

// A bot is a saved strategy, and how it is backtested when nobody says otherwise.
type bot struct {
	id      string
	mode    string
	costBps jsontext.Value
	owner   string
	nexus   bool // in the public list
	deleted bool
}

// A shownBot is a bot as the server shows it: in camel case in its lists, as rows of its database to
// an admin. Only what is needed is read; lists hold every owner's strategies.
type shownBot struct {
	ID        string         `json:"id"`
	Owner     string         `json:"ownerId"`
	OwnerRow  string         `json:"owner_id"`
	Mode      string         `json:"backtestMode"`
	ModeRow   string         `json:"backtest_mode"`
	Cost      jsontext.Value `json:"backtestCostBps"`
	CostRow   jsontext.Value `json:"backtest_cost_bps"`
	Deleted   jsontext.Value `json:"deletedAt"`
	DeletedAt jsontext.Value `json:"deleted_at"`
}

func isSet(v jsontext.Value) bool {
	s := string(v)
	return s != "" && s != "null" && s != "0" && s != "false" && s != `""`
}

func (s *shownBot) bot() bot {
	b := bot{id: s.ID, owner: orElse(s.OwnerRow, s.Owner), mode: orElse(orElse(s.Mode, s.ModeRow), "CC"), costBps: s.Cost, deleted: isSet(s.Deleted) || isSet(s.DeletedAt)}
	if len(b.costBps) == 0 || string(b.costBps) == "null" {
		b.costBps = s.CostRow
	}
	if len(b.costBps) == 0 || string(b.costBps) == "null" {
		b.costBps = jsontext.Value("5") // the server's default; a zero is not missing (details, section 6)
	}
	return b
}

// shownList reads a list of bots: an array, or an object that has one under whatever name.
func shownList(body []byte) ([]shownBot, error) {
	var list []shownBot
	if keying.ReadJSON(body, &list) == nil {
		return list, nil
	}
	var fields map[string]jsontext.Value
	if err := keying.ReadJSON(body, &fields); err != nil {
		return nil, fmt.Errorf("warm: reading a list of bots: %w", err)
	}
	for _, name := range []string{"bots", "systems", "users", "data", "rows"} {
		if raw, ok := fields[name]; ok && keying.ReadJSON(raw, &list) == nil {
			return list, nil
		}
	}
	return nil, errors.New("warm: reading a list of bots: there is none")
}

var errNotShown = errors.New("warm: the server does not show it")

// listBots asks for every bot there is to be seen: the public ones, with admin credentials all
// owners', and those in known that are in neither list, one by one. A list that can't be had is logged
// and left out: the others are warmed all the same.
func (p *pass) listBots(ctx context.Context, known []string) (map[string]bot, error) {
	found := map[string]bot{}
	take := func(list []shownBot) {
		for i := range list {
			if list[i].ID != "" {
				found[list[i].ID] = list[i].bot()
			}
		}
	}
	nexus := map[string]bool{}
	if list, err := p.list(ctx, "/api/nexus/bots"); err == nil {
		take(list)
		for i := range list {
			nexus[list[i].ID] = true
		}
	} else if ctx.Err() == nil {
		p.log.Warn("the public bots can't be listed", zap.Error(err))
	}
	all, err := p.list(ctx, "/api/admin/systems/user")
	if err != nil && ctx.Err() == nil {
		p.log.Info("not all bots can be listed, only public ones and those that were asked for; with an admin's login all are warmed", zap.Error(err))
	}
	for _, owner := range owners(all) {
		list, err := p.list(ctx, "/api/bots?userId="+url.QueryEscape(owner))
		if err != nil && ctx.Err() == nil {
			p.log.Warn("an owner's bots can't be listed", zap.Error(err))
		}
		take(list)
	}
	for i := range all {
		if b := all[i].bot(); b.deleted {
			found[b.id] = b
		}
	}
	for _, id := range known {
		if _, ok := found[id]; ok || ctx.Err() != nil {
			continue
		}
		if b, err := p.showBot(ctx, id); err == nil {
			found[id] = b
		} else {
			p.log.Debug("a bot is not shown", zap.Error(err))
		}
	}
	for id, b := range found {
		b.nexus = nexus[id]
		found[id] = b
	}
	return found, context.Cause(ctx)
}

func owners(list []shownBot) (ids []string) {
	for i := range list {
		if id := orElse(list[i].OwnerRow, list[i].Owner); id != "" && !list[i].bot().deleted {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (p *pass) list(ctx context.Context, path string) ([]shownBot, error) {
	status, body, err := p.world.Ask(ctx, http.MethodGet, path, nil)
	switch {
	case err != nil:
		return nil, err
	case status != http.StatusOK:
		return nil, fmt.Errorf("%w: status %d", errNotShown, status)
	}
	return shownList(body)
}

// showBot asks for one bot. One that the server says doesn't exist is deleted.
func (p *pass) showBot(ctx context.Context, id string) (bot, error) {
	status, body, err := p.world.Ask(ctx, http.MethodGet, "/api/bots/"+url.PathEscape(id), nil)
	switch {
	case err != nil:
		return bot{}, err
	case status == http.StatusNotFound && jsontext.Value(body).IsValid():
		return bot{id: id, deleted: true}, nil
	case status != http.StatusOK:
		return bot{}, fmt.Errorf("%w: status %d", errNotShown, status)
	}
	var shown struct {
		Bot *shownBot `json:"bot"`
		shownBot
	}
	if err := keying.ReadJSON(body, &shown); err != nil {
		return bot{}, fmt.Errorf("warm: reading a bot: %w", err)
	}
	if shown.Bot == nil {
		shown.Bot = &shown.shownBot
	}
	if shown.Bot.ID != id {
		return bot{}, fmt.Errorf("%w: it shows another", errNotShown)
	}
	return shown.Bot.bot(), nil
}

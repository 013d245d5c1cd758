package gateway

import "strings"

// choose gives the deployment that serves the request: the one the header
// names whatever its weight, else one by weighted chance. roll(n) gives a
// random number from 0 to n-1.
func choose(f Fields, p *plan, roll func(n int) int) (*target, *refusal) {
	if values := f.Values(fieldDeployment); len(values) > 1 {
		return nil, refuseRepeated(fieldDeployment)
	} else if len(values) == 1 {
		if t := p.named(strings.TrimSpace(values[0])); t != nil {
			return t, nil
		}
		return nil, refuseDeployment(&p.routes)
	}
	if p.total <= 0 {
		return nil, refuseTraffic(&p.routes)
	}
	return p.at(roll(p.total)), nil
}

// named gives the deployment of the name, in any case, or nil.
func (p *plan) named(name string) *target {
	for _, t := range p.targets {
		if strings.EqualFold(t.Name, name) {
			return t
		}
	}
	return nil
}

// at gives the deployment whose share of the total weight holds n.
func (p *plan) at(n int) *target {
	for _, t := range p.targets {
		if t.Weight <= 0 {
			continue
		}
		if n < t.Weight {
			return t
		}
		n -= t.Weight
	}
	return nil
}

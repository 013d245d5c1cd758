package sluice

import (
	"fmt"
	"strings"
)

// Capacity is what a machine, or the largest node of a cluster, has to offer.
type Capacity struct {
	CPU    float64 // cores
	Memory float64 // GiB
	GPU    int
}

// nominal is how much of a named size a machine must really have: one that is
// sold with 16 GiB reports a little less.
const nominal = 0.95

// Short says what a machine lacks to be of the instance type, as in "4 cores
// and 14 GiB, this machine has 2 and 7.8"; "" when it lacks nothing.
func (t InstanceType) Short(c Capacity) string {
	var wants, has []string
	add := func(lacking bool, want, have string) {
		if lacking {
			wants, has = append(wants, want), append(has, have)
		}
	}
	add(t.CPU > c.CPU, fmt.Sprintf("%g cores", t.CPU), fmt.Sprintf("%g", c.CPU))
	add(t.Memory*nominal > c.Memory, fmt.Sprintf("%g GiB", t.Memory), fmt.Sprintf("%.3g", c.Memory))
	add(t.GPU > c.GPU, fmt.Sprintf("%d GPUs", t.GPU), fmt.Sprint(c.GPU))
	if len(wants) == 0 {
		return ""
	}
	return strings.Join(wants, " and ") + ", this machine has " + strings.Join(has, " and ")
}

// CheckCapacity refuses an instance type that is larger than the machine, and
// names those nearest in name that are not.
func CheckCapacity(table []InstanceType, t InstanceType, c Capacity) error {
	short := t.Short(c)
	if short == "" {
		return nil
	}
	var fit []string
	for _, other := range table {
		if other.Short(c) == "" {
			fit = append(fit, other.Name)
		}
	}
	e := Errorf(CodeInvalid, "instance_type %s is larger than this machine, and strict capacity is on: it has %s", t.Name, short)
	e.Target = "instance_type"
	e.Hint = "leave --strict-capacity out to have it hosted with what is there"
	if near := Nearest(t.Name, fit, 3); len(near) > 0 {
		e.Hint = "choose one that fits, such as " + strings.Join(near, " or ") + "; or " + e.Hint
	} else if len(fit) > 0 {
		e.Hint = "choose one that fits, such as " + fit[len(fit)-1] + "; or " + e.Hint
	}
	e.Cause = &Cause{Code: CauseInstanceType, Message: e.Message, Hint: e.Hint}
	return e
}

package reconcile

import (
	"fmt"
	"strings"

	"github.com/sluice-ml/sluice"
)

// larger is what those who know no instance types say of a next step.
const larger = "an instance_type with more memory"

// nameLarger completes the causes of instances that ran out of memory: it names
// types that have more of it.
func (l *Loop) nameLarger(v view) {
	for n := range v.instances {
		i := &v.instances[n]
		i.cause = namingLarger(i.cause, l.InstanceTypes, v.deployment.Spec.InstanceType)
		i.told.trouble = namingLarger(i.told.trouble, l.InstanceTypes, v.deployment.Spec.InstanceType)
	}
}

// namingLarger gives the cause with a next step that names up to two types which
// have more memory than the given one, as far as it is about that.
func namingLarger(c *sluice.Cause, table []sluice.InstanceType, name string) *sluice.Cause {
	if c == nil || c.Code != sluice.CauseOutOfMemory || !strings.Contains(c.Hint, larger) {
		return c
	}
	more := sluice.WithMoreMemory(table, name)
	if len(more) == 0 {
		return c
	}
	var names []string
	for _, t := range more[:min(len(more), 2)] {
		names = append(names, fmt.Sprintf("%s (%g GiB)", t.Name, t.Memory))
	}
	named := *c
	named.Hint = strings.Replace(c.Hint, larger, "instance_type "+strings.Join(names, " or "), 1)
	return &named
}

package arm

import (
	"maps"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// DataCollector is what to keep of requests and answers. SamplingRate at the
// top is ours: on Azure it stands in every collection.
type DataCollector struct {
	Collections    map[string]DataCollection `json:"collections"`
	RollingRate    string                    `json:"rollingRate,omitempty"`
	RequestLogging *RequestLogging           `json:"requestLogging,omitempty"`
	SamplingRate   *float64                  `json:"samplingRate,omitempty"`
}

// RequestLogging names the headers to keep.
type RequestLogging struct {
	CaptureHeaders []string `json:"captureHeaders"`
}

// DataCollection is one named stream of collected data. DataPath is ours: Azure
// knows it through the data asset.
type DataCollection struct {
	DataCollectionMode string   `json:"dataCollectionMode,omitempty"`
	SamplingRate       *float64 `json:"samplingRate,omitempty"`
	ClientID           string   `json:"clientId,omitempty"`
	DataID             string   `json:"dataId,omitempty"`
	DataPath           string   `json:"dataPath,omitempty"`
}

func collectorFrom(s Scope, c *sluice.DataCollector) *DataCollector {
	if c == nil {
		return nil
	}
	out := &DataCollector{Collections: map[string]DataCollection{}, RollingRate: capital(c.RollingRate), SamplingRate: &c.SamplingRate}
	if len(c.CaptureHeaders) > 0 {
		out.RequestLogging = &RequestLogging{CaptureHeaders: slices.Clone(c.CaptureHeaders)}
	}
	for name, in := range c.Collections {
		mode := "Disabled"
		if in.Enabled {
			mode = "Enabled"
		}
		w := DataCollection{DataCollectionMode: mode, ClientID: in.ClientID, DataPath: in.DataPath}
		if in.SamplingRate != 0 {
			w.SamplingRate = &in.SamplingRate
		}
		if in.DataName != "" {
			w.DataID = s.WorkspaceID() + "/data/" + in.DataName
			if in.DataVersion != "" {
				w.DataID += "/versions/" + in.DataVersion
			}
		}
		out.Collections[name] = w
	}
	return out
}

func (w *DataCollector) domain() (*sluice.DataCollector, error) {
	if w == nil {
		return nil, nil
	}
	out := &sluice.DataCollector{SamplingRate: 1, RollingRate: "hour"}
	if w.SamplingRate != nil {
		out.SamplingRate = *w.SamplingRate
	}
	rate, err := enum("dataCollector.rollingRate", w.RollingRate, "hour", "year", "month", "day", "minute")
	if err != nil {
		return nil, err
	}
	out.RollingRate = rate
	if w.RequestLogging != nil {
		out.CaptureHeaders = w.RequestLogging.CaptureHeaders
	}
	for _, name := range slices.Sorted(maps.Keys(w.Collections)) {
		c, err := w.Collections[name].domain()
		if err != nil {
			return nil, err
		}
		if out.Collections == nil {
			out.Collections = map[string]sluice.Collection{}
		}
		out.Collections[name] = c
	}
	return out, checkRate(out.SamplingRate)
}

func (w DataCollection) domain() (sluice.Collection, error) {
	mode, err := enum("dataCollectionMode", w.DataCollectionMode, "Disabled", "Enabled")
	if err != nil {
		return sluice.Collection{}, err
	}
	out := sluice.Collection{Enabled: mode == "Enabled", ClientID: w.ClientID, DataPath: w.DataPath}
	if w.SamplingRate != nil {
		out.SamplingRate = *w.SamplingRate
	}
	if w.DataID != "" {
		ref, err := sluice.ParseRef(w.DataID)
		if err != nil && !strings.Contains(w.DataID, "/") {
			ref, err = sluice.Ref{Name: w.DataID}, nil
		}
		if err != nil {
			return out, err
		}
		out.DataName, out.DataVersion = ref.Name, ref.Version
	}
	return out, checkRate(out.SamplingRate)
}

func checkRate(rate float64) error {
	if rate < 0 || rate > 1 {
		return sluice.Errorf(sluice.CodeInvalid, "dataCollector.samplingRate is %v: it must be 0 to 1", rate)
	}
	return nil
}

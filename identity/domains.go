package identity

import (
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// domains is what an authority may sign for.
type domains struct {
	dns []string // each with all below it, lower case
	ips []netip.Prefix
}

func parseDomains(names []string) (domains, error) {
	var d domains
	for _, name := range names {
		if prefix, err := netip.ParsePrefix(name); err == nil {
			d.ips = append(d.ips, prefix.Masked())
		} else if addr, err := netip.ParseAddr(name); err == nil {
			addr = addr.Unmap().WithZone("")
			d.ips = append(d.ips, netip.PrefixFrom(addr, addr.BitLen()))
		} else if isDNS(name) {
			d.dns = append(d.dns, strings.ToLower(name))
		} else {
			return d, sluice.Errorf(sluice.CodeInvalid, "%q is neither a DNS name nor an address", name)
		}
	}
	return d, nil
}

// isDNS reports whether name is a plain host name, without wildcard.
func isDNS(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// domainsOf reads them back from an authority's certificate.
func domainsOf(cert *x509.Certificate) domains {
	var d domains
	for _, name := range cert.PermittedDNSDomains {
		d.dns = append(d.dns, strings.ToLower(strings.TrimPrefix(name, ".")))
	}
	for _, n := range cert.PermittedIPRanges {
		addr, ok := netip.AddrFromSlice(n.IP)
		if ones, _ := n.Mask.Size(); ok {
			d.ips = append(d.ips, netip.PrefixFrom(addr, ones))
		}
	}
	return d
}

func (d domains) nets() []*net.IPNet {
	var out []*net.IPNet
	for _, p := range d.ips {
		out = append(out, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	return out
}

// allowsDNS reports whether name, or all of a wildcard, is within d.
func (d domains) allowsDNS(name string) bool {
	name = strings.ToLower(strings.TrimPrefix(name, "*."))
	return slices.ContainsFunc(d.dns, func(own string) bool {
		return name == own || strings.HasSuffix(name, "."+own)
	})
}

func (d domains) allowsPrefix(p netip.Prefix) bool {
	return slices.ContainsFunc(d.ips, func(own netip.Prefix) bool {
		return own.Bits() <= p.Bits() && own.Contains(p.Addr())
	})
}

// cover reports whether everything in other is within d.
func (d domains) cover(other domains) bool {
	for _, name := range other.dns {
		if !d.allowsDNS(name) {
			return false
		}
	}
	for _, p := range other.ips {
		if !d.allowsPrefix(p) {
			return false
		}
	}
	return true
}

// union gives d with what of other it does not cover yet.
func (d domains) union(other domains) domains {
	out := domains{dns: slices.Clone(d.dns), ips: slices.Clone(d.ips)}
	for _, name := range other.dns {
		if !out.allowsDNS(name) {
			out.dns = append(out.dns, name)
		}
	}
	for _, p := range other.ips {
		if !out.allowsPrefix(p) {
			out.ips = append(out.ips, p)
		}
	}
	return out
}

// fill puts the names into the certificate, if d allows them all.
func (d domains) fill(cert *x509.Certificate, names []string) error {
	if len(names) == 0 {
		return sluice.Errorf(sluice.CodeInvalid, "a certificate needs a name")
	}
	for _, name := range names {
		if addr, err := netip.ParseAddr(name); err == nil {
			addr = addr.Unmap().WithZone("")
			if !d.allowsPrefix(netip.PrefixFrom(addr, addr.BitLen())) {
				return outside(name)
			}
			cert.IPAddresses = append(cert.IPAddresses, addr.AsSlice())
			continue
		}
		if !isDNS(strings.TrimPrefix(name, "*.")) {
			return sluice.Errorf(sluice.CodeInvalid, "%q is neither a DNS name nor an address", name)
		}
		if !d.allowsDNS(name) {
			return outside(name)
		}
		cert.DNSNames = append(cert.DNSNames, strings.ToLower(name))
	}
	return nil
}

func outside(name string) error {
	return sluice.Errorf(sluice.CodeInvalid, "the local certificate authority may not sign for %s", name).
		WithHint("open the authority with this name as one of its own, or bring a certificate")
}

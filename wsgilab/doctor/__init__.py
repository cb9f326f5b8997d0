"""What a machine, or a site of several, has and lacks for the lab, each finding with its remedy."""

from wsgilab.doctor.findings import Finding
from wsgilab.doctor.here import examine
from wsgilab.doctor.site import examine_site

__all__ = ["Finding", "examine", "examine_site"]

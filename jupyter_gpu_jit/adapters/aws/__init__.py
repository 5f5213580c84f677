"""AWS, one outside system: EC2 with what launches need besides, and SQS. boto3 is used here only.

The command line makes the parts and hands them to the provisioner::

    calls = AwsCalls(settings, clock)
    cloud, notices = Ec2Cloud(calls, packaged), SqsNotices(calls)

One package rather than a module per service, because all of them share one way to call
(calls.py), one pace and one set of errors.
"""

from __future__ import annotations

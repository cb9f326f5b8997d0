"""The workload `hello`: what a server costs by itself. `locust -f locustfiles/hello.py --host http://...`"""

from lab_user import Get, LabUser

GET = Get("/hello", b"hello\n")


class Hello(LabUser):
    get = GET

"""The workload `hello`: what a server costs by itself. `locust -f locustfiles/hello.py --host http://...`"""

from lab_user import LabUser


class Hello(LabUser):
    path = "/hello"
    answer = b"hello\n"

# Machines for the lab on Amazon EC2, close together, with the ports of docs/cloud.md open and no others:
#
#   terraform apply -var operator=198.51.100.7/32 -var public_key="$(cat ~/.ssh/id_ed25519.pub)"
#   terraform output -raw sites >sites.yaml
#   terraform destroy
terraform {
  required_providers { aws = { source = "hashicorp/aws", version = "~> 5.0" } }
}
provider "aws" { region = var.region }

variable "region" { default = "eu-central-1" }
variable "zone" { default = "a" }
variable "type" { default = "c7i.xlarge" } # not a burstable one, such as t3: docs/cloud.md says why
variable "targets" { default = 1 }
variable "swarm" { default = 1 }           # as many, or a multiple
variable "operator" { type = string }      # the address from which you log in, such as 198.51.100.7/32
variable "public_key" { type = string }

locals {
  ports   = "8100-8199"
  master  = 5557
  targets = [for n in range(var.targets) : "target-${n + 1}"]
  swarm   = [for n in range(var.swarm) : "swarm-${n + 1}"]
}

resource "aws_security_group" "lab" {
  name = "wsgilab"
  ingress { # the operator, to the engines
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = [var.operator]
  }
  egress { # images and packages
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}
resource "aws_security_group" "swarm" {
  name = "wsgilab-swarm"
  ingress { # workers, to Locust's master
    protocol  = "tcp"
    from_port = local.master
    to_port   = local.master
    self      = true
  }
}
resource "aws_security_group" "targets" {
  name = "wsgilab-targets"
  ingress { # the swarm, to servers and clock server
    protocol        = "tcp"
    from_port       = split("-", local.ports)[0]
    to_port         = split("-", local.ports)[1]
    security_groups = [aws_security_group.swarm.id]
  }
}

data "aws_ami" "debian" {
  owners      = ["136693071363"] # Debian's own: wiki.debian.org/Cloud/AmazonEC2Image
  most_recent = true
  filter {
    name   = "name"
    values = ["debian-13-amd64-*"]
  }
}
resource "aws_placement_group" "lab" {
  name     = "wsgilab"
  strategy = "cluster"
}
resource "aws_instance" "lab" {
  for_each               = toset(concat(local.targets, local.swarm))
  ami                    = data.aws_ami.debian.id
  instance_type          = var.type
  availability_zone      = "${var.region}${var.zone}"
  placement_group        = aws_placement_group.lab.name
  vpc_security_group_ids = [aws_security_group.lab.id, startswith(each.key, "target") ? aws_security_group.targets.id : aws_security_group.swarm.id]
  user_data              = replace(file("${path.module}/cloud-init.yaml"), "OPERATOR_PUBLIC_KEY", trimspace(var.public_key))
  root_block_device { volume_size = 20 }
  tags = { Name = each.key }
}

output "sites" {
  value = templatefile("${path.module}/sites.yaml.tftpl", {
    ports   = local.ports, master = local.master
    targets = [for name in local.targets : aws_instance.lab[name]]
    swarm   = [for name in local.swarm : aws_instance.lab[name]]
  })
}

"""A release on a cluster: the custom resource, routes and Deployments behind the same decision as on one machine."""

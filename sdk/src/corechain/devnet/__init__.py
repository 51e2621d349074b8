"""The whole network on one machine: embedded servers, deployment, services. Extra `devnet`."""

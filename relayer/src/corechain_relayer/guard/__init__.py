"""Answers demands for data of our lane in time: silence would cost half the lane's bond."""

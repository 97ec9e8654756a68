"""Crowd-sourced Emotional Multimodal Actors Dataset."""

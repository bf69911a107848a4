"""The gRPC edge: methods built from the descriptors, health, reflection, channelz."""

"""The fault suite: break real processes under load at moments that a seed draws, and count what was lost or doubled."""

"""What comes with the image: block map, checksums, list of software with licences, Imager entry, manifest.

Everything here is a function of files and values that the build hands over; nothing starts a program or asks the time.
"""

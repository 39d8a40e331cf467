"""What a command in a guest caused, in guest, driver and device, on one clock: for Perfetto.

`guest` switches tracepoints on and fetches what they wrote, `ftrace` reads that, `clock` relates
the device's clock to the guest's, `tracks` is the file, and `record` runs a command and makes one.
"""

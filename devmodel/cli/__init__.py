"""What a person types: `devmodel doctor | build | run | start | stop | ps | exec | ssh | ...`."""

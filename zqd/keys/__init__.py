"""CURVE keys in files (zmq_curve(7)).

`z85`: a key as text; `files`: where they lie and who may get at them; `pair`: our own keys, another's, new ones;
`authorized`: who may enter; `connection`: what a program needs that connects. Import the module that has what you need:
`zqd.config` loads `z85` at every start, and the others would cost it time.
"""

"""Artifacts: the directories of libraries and models that a worker loads, in place of baked images.

build     compiles or unpacks the libraries, converts and quantises the weights
push      fills the bucket
pull      fetches the directory that suits this machine
verify    checks a directory
locate    chooses the directory and the model file to use
"""

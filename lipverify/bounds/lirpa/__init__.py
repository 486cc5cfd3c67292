"""The only package that knows auto_LiRPA. Importing it imports auto_LiRPA, with its stand-ins."""

from lipverify.bounds.lirpa.compat import auto_lirpa

auto_lirpa()

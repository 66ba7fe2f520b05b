% An atom that depends on its own negation.
%% error: NegativeCycle

0.4::a.
b :- a, \+ b.

query(b).

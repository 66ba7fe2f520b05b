% A fact of probability 1.2.
%% error: InvalidValue

1.2::a.

query(a).

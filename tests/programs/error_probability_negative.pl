% A fact of negative probability, the result of a subtraction.
%% error: InvalidValue

0.2-0.5::a.

query(a).

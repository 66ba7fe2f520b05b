% The values of an annotated disjunction sum to 1.4.
%% error: InvalidValue

0.7::side(heads); 0.7::side(tails).

query(side(_)).

% The same head twice in one annotated disjunction: the two shares add up.
%% answer: prize(small)  0.5
%% answer: prize(large)  0.1
%% answer: nothing  0.4

0.2::prize(small); 0.3::prize(small); 0.1::prize(large).

nothing :- \+ prize(_).

query(prize(_)).
query(nothing).
